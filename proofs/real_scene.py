"""scene-adapted on real, georeferenced Sentinel data, from two images to a STAC item and a page to look at.

Two scenes of the samples, 13 bands each:

- winter 112: a triplet of SEN12MS-CR; its cloudy image is nearly clear, its truth another date;
- Spain: radar and clear optics of Sen1Floods11, under real clouds painted on by Copy (section III-B.4 of the paper)
  from other places; the truth is the pixels themselves.

    python proofs/real_scene.py OUT

Leaves for each scene the cleared image, cloud map, confidence, ``item.json`` and ``report.html`` in OUT/NAME, and prints
the error expected beforehand beside the error made.
"""
