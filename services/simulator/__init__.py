"""The phantom germline and the simulated microscope that writes it slice by slice."""
