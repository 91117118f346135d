"""What the operating system decides for a job: how its threads wait. Imports nothing heavy."""

from __future__ import annotations
