"""Device profiles: each one is sound, says where its numbers are from, and no two claim one board. Who adds a board runs this."""

from collections import defaultdict
from fnmatch import fnmatchcase
from itertools import pairwise

import pytest

from edged.board.processor import ISA
from edged.board.profile import Profile, load_profile, names
from edged.board.rates import rates_of
from edged.errors import OperatorError
from edged.models.costs import Costs, Macs
from edged.select.predict import predict

# Which source speaks of which numbers; device_profiles/README.md has the list for people.
SOURCES = {"match", "reserve", "theoretical", "cpu", "isa", "gmacs", "overhead", "storage", "link", "thermal"}
WANTED = {
    "raspberry-pi-zero-2w", "raspberry-pi-3b-plus", "raspberry-pi-4b-1gb", "raspberry-pi-4b-2gb", "raspberry-pi-4b-4gb",
    "raspberry-pi-4b-8gb", "raspberry-pi-5-4gb", "raspberry-pi-5-8gb", "raspberry-pi-5-16gb", "jetson-nano", "jetson-xavier-nx-8gb",
    "jetson-orin-nano-4gb", "jetson-orin-nano-8gb", "jetson-orin-nano-4gb-super", "jetson-orin-nano-8gb-super", "jetson-orin-nx-16gb",
    "jetson-agx-orin-64gb", "rock-5b-16gb", "generic-aarch64", "generic-x86_64",
}  # fmt: skip

# MobileNet v1 1.0 at 224 x 224: of its 569 million multiply-adds the first layer and all 1x1 layers are convolutions.
MOBILENET_V1 = Costs(
    file_bytes=16_900_000,
    weight_bytes=16_900_000,
    arena_bytes=6_400_000,
    macs_total=568_740_352,
    macs=Macs(dense=1_024_000, conv=550_281_216, depthwise=17_435_136),
    elementwise=51_176,
    compute="float32",
    stateful=False,
    operators={"CONV_2D": 14, "DEPTHWISE_CONV_2D": 13, "FULLY_CONNECTED": 1, "MEAN": 1},
)
FOUR_THREADS = 2.7  # how much faster than one, as the profiles derive their numbers
PUBLISHED_MS = {"raspberry-pi-3b-plus": 115, "raspberry-pi-4b-4gb": 75}  # README of XNNPACK, float32, four threads


def test_every_board_that_was_promised_is_there() -> None:
    assert set(names()) >= WANTED


@pytest.mark.parametrize("name", names())
def test_each_profile_is_sound_and_says_where_its_numbers_are_from(name: str) -> None:
    assert faults_of(load_profile(name), name) == []


def faults_of(profile: Profile, name: str) -> list[str]:
    """Say in words what is wrong with a profile."""
    memory, compute, thermal, match = profile.memory, profile.compute, profile.thermal, profile.match
    bandwidth, sources = memory.bandwidth_gbs, SOURCES | ({"gpu"} if memory.bandwidth_gbs.gpu else set())
    checks = {
        f"the file is {name}.toml, and `name` is {profile.name}": profile.name == name,
        "`compatible` or `arch`, one of them": bool(match.compatible) != bool(match.arch),
        "`ram_mib` of `match`: the least and the most": match.generic or sorted(match.ram_mib) == match.ram_mib != [],
        "`ram_mib` of `memory` lies in that range": match.generic or match.ram_mib[0] <= memory.ram_mib <= match.ram_mib[1],
        "at most half of the memory is reserved": memory.reserve_mib <= memory.ram_mib / 2,
        "no more bandwidth than the bus has": max(bandwidth.cpu, bandwidth.gpu or 0) <= bandwidth.theoretical,
        "one core at least is for everything else": compute.workers < compute.cores,
        f"`isa` in words of {ISA}": set(compute.isa) <= set(ISA),
        "`gmacs` of int8 and float32, int8 no slower": compute.gmacs.keys() == {"int8", "float32"}
        and compute.gmacs["int8"] >= compute.gmacs["float32"],
        "it slows down before it stops": 40 <= thermal.throttle_c < thermal.limit_c <= 125,
        f"sources: {sorted(sources ^ profile.sources.keys())} missing or not known": sources == profile.sources.keys(),
        "each source is a sentence": all(len(text.split()) >= 3 for text in profile.sources.values()),
    }
    return [text for text, holds in checks.items() if not holds]


def test_no_two_profiles_claim_one_board_and_no_memory_size_falls_between_them() -> None:
    families = defaultdict(list)
    for profile in map(load_profile, names()):
        if not profile.match.generic:
            families[profile.match.compatible].append((profile.match.ram_mib, profile.name))
    for compatible, ranges in families.items():
        ranges.sort()
        assert ranges[0][0][0] == 1, f"{compatible}: memory may be limited by the boot loader"
        for (below, _), (above, name) in pairwise(ranges):
            assert above[0] == below[1] + 1, f"{name}: {compatible} from {below[1] + 1} MiB on"


def test_a_word_of_a_device_tree_fits_one_family_only() -> None:
    families = {profile.match.compatible for profile in map(load_profile, names()) if profile.match.compatible}
    for words in families:
        for word in (pattern.replace("*", "").replace("[35]", "5").replace("[01]", "1") for pattern in words.split()):
            fits = [other for other in families if any(fnmatchcase(word, pattern) for pattern in other.split())]
            assert fits == [words], word


@pytest.mark.parametrize(("name", "published_ms"), PUBLISHED_MS.items())
def test_the_start_values_give_published_times(name: str, published_ms: float) -> None:
    profile = load_profile(name)
    need = predict(MOBILENET_V1, rates_of(profile), profile.memory.bandwidth_gbs.cpu)
    assert need.ms / FOUR_THREADS == pytest.approx(published_ms, rel=0.3)


@pytest.mark.parametrize("name", ["raspberry-pi-9", "../README", ""])
def test_a_profile_that_is_not_there_is_told_with_those_that_are(name: str) -> None:
    with pytest.raises(OperatorError, match="there is no device profile") as caught:
        load_profile(name)
    assert "raspberry-pi-5-8gb" in caught.value.hint
