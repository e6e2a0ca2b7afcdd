"""Line charts, contact sheets and image grids."""
