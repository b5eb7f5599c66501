"""latentphys' own: a deep state-space model that answers for every subset of its sensors.

loss = -0.3 ELBO - 4 (L_cross - 0.3 L_block) + 0.01 L_miss

ELBO     E_q log p(x | z, eps) - KL(q(z | x) || p(z | u)) - KL(q(eps | x) || N(0, I))
L_cross  log p(x of the sensors not in S, and of gaps in those in S | z), z ~ q(z | x of S)
L_block  CRPS of the means over 0.25 and 1 s of what L_cross tells
L_miss   KL(q(z | x) || q(z | x of S)) along a path z ~ q(z | x)

In training six sensors in ten have gaps. Without them a gap in one sensor beside others that speak
is filled far too surely (90 % intervals of 4 s of respiration that cover 20 %), and what the others
tell of respiration is learned late.

The ELBO has less than its weight. With all of it a sensor that is shown is told to a hundredth of
its spread, and such sharp likelihoods outweigh all that a sensor which is not shown has to teach;
with a tenth the state is no surer of itself with all sensors than with one.

L_cross asks every sample by itself, which noise answers as well as a state that is not known: 90 %
intervals of half-second means of what it draws cover 41 % of an absent PPG and 17 % of an absent
respiration. L_block asks those means: 56 and 62 %. What it cannot have of the state it has of noise
that lasts, for a time it teaches: 83 and 89 %.
"""

from latentphys.learning.objective import Objective
from latentphys.recipes.catalogue import Recipe

RECIPE = Recipe(
    name="statespace",
    source="latentphys",
    objective=Objective(elbo=0.3, block=0.3, miss=0.01),
    model={"noise": "coloured"},
    training={"warm_up": 2.0 / 3.0},
)
