"""One thread, so that trainings repeat to the bit and do not wait for each other."""

from tests.classifiers.networks.conftest import one_thread as one_thread
