"""Pictures of what a workspace holds."""
