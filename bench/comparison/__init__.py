"""The parts of bench/compare; see README.md in the folder above."""
