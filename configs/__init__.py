"""The presets, shipped as package data: ``-c NAME`` takes ``NAME.yaml`` of this folder. Only jobs read them."""
