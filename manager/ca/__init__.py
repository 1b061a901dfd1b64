"""The managers' side of trust: who gets a certificate, and for which role."""
