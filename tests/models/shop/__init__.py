"""A project's own application, with rows that hang on mirrored ones."""
