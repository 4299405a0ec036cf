"""DPDL (CVPR 2025) in four parts: prototypes, the Schroedinger bridge, dispersion on the hypersphere, and the model."""
