"""Tests of backboneio, through its public interfaces."""
