"""Registries and their images: names, documents, logins, and the client that reads them."""
