"""Games to look at: in a window, as a video, with the network's outputs beside the picture."""
