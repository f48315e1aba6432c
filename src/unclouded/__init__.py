"""Remove clouds from Sentinel-2 images with the help of Sentinel-1 radar."""

import logging

__version__ = "0.1.0"

logging.getLogger("unclouded").addHandler(logging.NullHandler())  # silent unless an application configures logging
