"""Generators, discriminators and the blocks they are made of. Nothing here knows of files."""

from diptych.networks.discriminator import Discriminator as Discriminator
from diptych.networks.generator import ResnetGenerator as ResnetGenerator
from diptych.networks.generator import make_generator as make_generator
from diptych.networks.initialisation import initialise as initialise
