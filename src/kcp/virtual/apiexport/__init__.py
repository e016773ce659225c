"""`/services/apiexport/<cluster>/<export>/clusters/…`: what a provider sees of its consumers' workspaces."""
