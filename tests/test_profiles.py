"""Device profiles: each one is sound, and a wrong name is told."""

import pytest

from edged.board.profile import load_profile, names
from edged.errors import OperatorError


@pytest.mark.parametrize("name", names())
def test_each_profile_is_sound_and_says_where_its_numbers_are_from(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.compute.workers < profile.compute.cores
    assert profile.memory.bandwidth_gbs.cpu <= profile.memory.bandwidth_gbs.theoretical
    assert {"memory", "gmacs"} <= set(profile.sources)


@pytest.mark.parametrize("name", ["raspberry-pi-9", "../README", ""])
def test_a_profile_that_is_not_there_is_told_with_those_that_are(name: str) -> None:
    with pytest.raises(OperatorError, match="there is no device profile") as caught:
        load_profile(name)
    assert "raspberry-pi-5-8gb" in caught.value.hint
