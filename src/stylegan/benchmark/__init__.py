"""Speed: measured against what the device allows. `stylegan benchmark` prints it."""
