"""A faithful local mirror of a Polar organization's customers and all of their state, for Django."""
