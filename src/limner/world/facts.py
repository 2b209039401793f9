"""What the picture world knows: numbers of legs and wheels, who loves what, colours, cities, months, chemistry.

Each table's ``text_only`` entries appear in training as words only, never with a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from limner.world.scene import KINDS

ANIMALS: tuple[str, ...] = tuple(kind for kind, k in KINDS.items() if k.family == "animal")


@dataclass(frozen=True)
class Trait:
    """A countable trait of a family: ``an animal with four legs``. ``values`` maps the number to all kinds that fit."""

    noun: str
    one: str
    many: str
    values: dict[int, tuple[str, ...]]

    def said(self, number: str, value: int) -> str:
        """``four legs``, ``one life``."""
        return f"{number} {self.one if value == 1 else self.many}"


TRAITS: dict[str, Trait] = {
    "legs": Trait(
        "animal",
        "leg",
        "legs",
        {
            0: ("fish", "snake"),
            2: ("bird",),
            4: ("cat", "dog", "rabbit", "mouse", "turtle"),
            6: ("bee", "butterfly"),
            8: ("octopus",),
        },
    ),
    "lives": Trait("animal", "life", "lives", {9: ("cat",), 1: tuple(kind for kind in ANIMALS if kind != "cat")}),
    "wings": Trait(
        "animal",
        "wing",
        "wings",
        {
            0: tuple(kind for kind in ANIMALS if kind not in ("bird", "bee", "butterfly")),
            2: ("bird",),
            4: ("bee", "butterfly"),
        },
    ),
    "sides": Trait("shape", "side", "sides", {3: ("triangle",), 4: ("square",), 6: ("hexagon",)}),
    "points": Trait("shape", "point", "points", {3: ("triangle",), 4: ("square",), 5: ("star",), 6: ("hexagon",)}),
    "wheels": Trait(
        "vehicle",
        "wheel",
        "wheels",
        {0: ("boat", "rocket"), 1: ("wheelbarrow",), 2: ("scooter",), 4: ("car",), 6: ("truck",)},
    ),
    "strings": Trait("thing", "string", "strings", {1: ("kite", "balloon"), 4: ("violin",), 6: ("guitar",)}),
}


@dataclass(frozen=True)
class Clue:
    """``the animal that barks`` is exactly one kind."""

    noun: str
    clause: str
    kind: str
    text_only: bool = False


def _clues() -> tuple[Clue, ...]:
    table = """
        animal barks dog | animal loves bones dog* | animal meows cat | animal loves milk cat
        animal loves cheese mouse | animal squeaks mouse* | animal loves carrots rabbit | animal has long ears rabbit*
        animal makes honey bee | animal buzzes bee* | animal sings bird | animal builds nests bird*
        animal hisses snake | animal has no ears snake* | animal carries a shell turtle | animal is very slow turtle*
        animal was a caterpillar butterfly | animal squirts ink octopus | animal has fins fish
        fruit monkeys love banana | fruit keeps the doctor away apple | plant bees love flower
        plant looks like an umbrella mushroom* | plant is very tall tree
        thing keeps the rain away umbrella | thing tells the time clock | thing holds tea cup*
        thing sits on a head hat | thing people live in house | thing brings the rain cloud
        thing shines at night moon* | shape stands for love heart* | shape has five points star
        vehicle flies to the moon rocket* | vehicle floats on the water boat | vehicle carries heavy loads truck
        toy flies in the wind kite* | toy is full of air balloon | instrument rock bands love guitar*
        instrument needs a bow violin
    """
    clues = []
    for line in table.replace("\n", "|").split("|"):
        if pieces := line.split():
            noun, *clause, kind = pieces
            clues.append(Clue(noun, " ".join(clause), kind.rstrip("*"), kind.endswith("*")))
    return tuple(clues)


CLUES: tuple[Clue, ...] = _clues()
CHASES: dict[str, str] = {"dog": "cat", "cat": "mouse", "bird": "butterfly", "octopus": "fish"}


@dataclass(frozen=True)
class Hue:
    """A thing known for its colour: ``grass is green``."""

    name: str
    verb: str
    colour: str
    text_only: bool = False

    @property
    def statement(self) -> str:
        """``grass is green``."""
        return f"{self.name} {self.verb} {self.colour}"


def _hues() -> tuple[Hue, ...]:
    table = """
        blood is red | roses are red* | carrots are orange | pumpkins are orange* | lemons are yellow
        butter is yellow* | grass is green | frogs are green* | the clear sky is blue | jeans are blue*
        grapes are purple | plums are purple* | pigs are pink | flamingos are pink* | chocolate is brown
        mud is brown* | coal is black | ravens are black* | milk is white | salt is white*
    """
    hues = []
    for line in table.replace("\n", "|").split("|"):
        if pieces := line.split():
            *name, verb, colour = pieces
            hues.append(Hue(" ".join(name), verb, colour.rstrip("*"), colour.endswith("*")))
    return tuple(hues)


HUES: tuple[Hue, ...] = _hues()


@dataclass(frozen=True)
class City:
    """A city's hours ahead of London (fixed; no summer time), its half of the world, and its landmark."""

    name: str
    hours: int
    south: bool = False
    landmark: str | None = None
    text_only: bool = False


CITIES: tuple[City, ...] = (
    City("new york", -5),
    City("rio", -3, south=True, text_only=True),
    City("london", 0),
    City("paris", 1, landmark="tower"),
    City("cairo", 2, landmark="pyramid"),
    City("moscow", 3),
    City("dubai", 4, text_only=True),
    City("tokyo", 9, landmark="pagoda"),
    City("sydney", 10, south=True, landmark="opera house"),
)
LANDMARKS: dict[str, City] = {city.landmark: city for city in CITIES if city.landmark}

# Hours of the day as prompts say them.
CLOCK: dict[int, str] = {
    0: "midnight",
    3: "3 am",
    6: "6 am",
    9: "9 am",
    12: "noon",
    15: "3 pm",
    18: "6 pm",
    21: "9 pm",
}


def light(hour: int) -> str:
    """The background of an hour (0-23): night, sunrise (5-7) or day (8-18)."""
    if 5 <= hour <= 7:
        return "sunrise"
    return "day" if 8 <= hour <= 18 else "night"


MONTHS: tuple[str, ...] = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
SEASONS: dict[str, str] = {"winter": "snow", "summer": "day", "autumn": "rain"}  # spring has no background of its own


def season(month: int, *, south: bool = False) -> str:
    """The season of a month (1-12); the southern half of the world is half a year away."""
    return ("winter", "spring", "summer", "autumn")[((month + (6 if south else 0)) % 12) // 3]


@dataclass(frozen=True)
class Substance:
    """What chemistry colours: ``the flame of copper is green``."""

    name: str
    colour: str
    text_only: bool = False


SUBSTANCES: tuple[Substance, ...] = (
    Substance("the flame of copper", "green"),
    Substance("the flame of sodium", "yellow"),
    Substance("the flame of lithium", "red", text_only=True),
    Substance("the flame of potassium", "purple"),
    Substance("old iron", "brown"),
    Substance("old copper", "green", text_only=True),
    Substance("burnt wood", "black"),
    Substance("litmus in acid", "red"),
    Substance("litmus in soap", "blue", text_only=True),
)


def litmus(ph: int) -> tuple[str, str]:
    """(what a liquid of this ph is, the colour litmus takes in it)."""
    if ph == 7:
        return "neutral", "purple"
    return ("acid", "red") if ph < 7 else ("basic", "blue")


# From small to large; kinds on one line are not compared with each other.
SIZES: tuple[tuple[str, ...], ...] = (
    ("bee", "butterfly", "mouse"),
    ("cat", "dog", "guitar", "rabbit"),
    ("car", "scooter", "wheelbarrow"),
    ("house", "tree", "truck"),
    ("pyramid", "tower", "opera house"),
    ("moon",),
)
FLOATS: tuple[str, ...] = ("boat", "apple", "balloon", "banana")
SINKS: tuple[str, ...] = ("car", "clock", "truck", "scooter", "cup")
