"""Stores: the layers at the bottom of a stack, which keep the models."""
