"""The virtual workspaces of those who prepare and clear workspaces: `initializingworkspaces` and `terminatingworkspaces`."""
