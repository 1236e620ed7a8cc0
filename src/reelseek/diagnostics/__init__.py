"""What can be measured of a trained space besides its rankings."""
