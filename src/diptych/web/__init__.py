"""A trained model on the web: a page and an HTTP API (needs the extra ``[web]``)."""
