"""Tags of the admin pages."""
