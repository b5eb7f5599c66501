"""latentphys' own: a deep state-space model that answers for every subset of its sensors.

loss = -ELBO - 3 L_cross + 0.003 L_miss

ELBO     E_q log p(x | z, eps) - KL(q(z | x) || p(z | u)) - KL(q(eps | x) || N(0, I))
L_cross  log p(x of the sensors not in S | z), z ~ q(z | x of S)
L_miss   KL(q(z | x) || q(z | x of S)) along a path z ~ q(z | x)
"""

from latentphys.recipes.catalogue import Recipe

RECIPE = Recipe(name="statespace", source="latentphys")
