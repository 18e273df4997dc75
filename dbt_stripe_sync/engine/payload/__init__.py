"""Turns a row into Stripe parameters, and compares one set of parameters with another."""
