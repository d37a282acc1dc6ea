"""Reinforcement learning for language models, from Bellman to GRPO: one small tested function per equation.

Floors, each importing only from lower ones:

    0  shapes, masked          what is this tensor, and what is it divided by?
    1  mdp …, cases            what is the number?
    2  worlds, kernels         what reward follows, and is there a faster way?
    3  loops                   what changes?
    4  check, doctor, view     did I write it right, and what do we see?
"""
