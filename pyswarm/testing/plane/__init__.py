"""The whole control plane in one process on virtual time: real managers, real agents, fake rest.

python -m pyswarm.testing.plane 17           # one seed, and how it ended
python -m pyswarm.testing.plane 0 100        # a range
"""
