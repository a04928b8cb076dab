"""The mirror over HTTP, shaped like Polar's own API: `path("polar/", include("polar_sync.rest.urls"))`.

A program that speaks to https://polar.sh/docs/api-reference/customers/list gets the same answers from here by changing
its base URL.
"""
