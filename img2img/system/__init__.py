"""What the machine and the installation decide: files, memory, devices, threads, packages. Imports
nothing heavy."""

from __future__ import annotations
