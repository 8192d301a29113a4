"""Files, arrays on disk, devices, compilation and signals: what every room stands on."""
