"""Tests of the ready-made layers."""
