"""A reward for the car of mountain_car.toml that a person wrote: energy that is gained, and less for hard pushing."""

import math


def energy(obs):
    """Height and speed in one unit: what the hill takes from the one, it gives to the other."""
    return 0.0025 / 3 * math.sin(3 * obs[0]) + 0.5 * obs[1] ** 2


def compute_reward(obs, action, next_obs, info):
    gained = 2000 * (energy(next_obs) - energy(obs))
    pushing = -0.01 * float(action[0]) ** 2
    return gained + pushing, {"gained": gained, "pushing": pushing}
