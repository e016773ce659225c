"""`/services/admin/…`: what concerns the whole installation, for its administrators."""
