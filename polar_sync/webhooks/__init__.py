"""How Polar tells this app what happened: signed deliveries to a webhook endpoint.

https://polar.sh/docs/integrate/webhooks/endpoints
"""
