"""The deep Markov model: a Gaussian state with a gated transition, learned by the ELBO alone.

    L(x) = sum_t E_q(z_t) log p(x_t | z_t) - KL(q(z_1 | x) || p(z_1))
           - sum_{t>1} E_q(z_{t-1}) KL(q(z_t | z_{t-1}, x) || p(z_t | z_{t-1}))
    p(z_t | z_{t-1}) = N((1 - g_t) * (A z_{t-1} + b) + g_t * h(z_{t-1}), sigma(z_{t-1})^2)

The paper's guide runs step by step, a recurrent network's output joined with z_{t-1}; ours gives
q(z_t | z_{t-1}, x) = N(m_t + r_t * (z_{t-1} - m_{t-1}), s_t^2) for all t at once. On polyphonic
music, a step a chord: modality "notes", 0 or 1 for each key of the piano, 1 Hz.

Source:
    Krishnan, Shalit and Sontag (2017), Structured inference networks for nonlinear state space
    models. AAAI. Equation 6 and section 5.
"""

from latentphys.learning.objective import Objective
from latentphys.preparation.preprocessing import SignalPlan
from latentphys.recipes.catalogue import Recipe

RECIPE = Recipe(
    name="dmm",
    source="Krishnan, Shalit and Sontag (2017)",
    objective=Objective(cross=0.0, miss=0.0),
    state_rate_hz=1.0,
    window_s=160.0,  # the longest chorale; shorter ones train in windows as short as they are
    batch_size=8,
    model={
        "latent_dim": 32,
        "evidence_dim": 64,
        "widths": (128, 128),
        "width": 128,
        "dropout": 0.05,  # 0.2 widens the posterior: 0.25 nats a step worse
    },
    plans={"notes": SignalPlan(binary=True)},
    augmentation={"tempo": 0.0, "gain": 0.0, "noise": 0.0, "lag_s": 0.0, "one_channel": 0.0},
    training={"learning_rate": 3e-3, "warm_up": 0.25},
)
