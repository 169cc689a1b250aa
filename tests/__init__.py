"""Tests of edged."""
