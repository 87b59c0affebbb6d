"""Turns a request into a plan with criteria."""
