"""Images to features: scan, decode, run a frozen backbone, and store what it says."""
