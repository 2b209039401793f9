"""Every word of the picture world: signs, numbers, then words in order; a model learns one token for each."""

from __future__ import annotations

_SIGNS = "' ( ) + , - . : ; = ?"
_HIGHEST = 36  # the largest number that a sum of hours reaches
_WORDS = """
    a above acid add after air am an ana and animal animals apple apples april are as at august autumn away
    background balloon balloons banana bananas bands barks basic bee bees before below beside bird birds black
    blood blue boat boats bones bow box boxes brings brown builds burnt but butter butterflies butterfly buzzes
    by cairo car carries carrots cars cat caterpillar cats change chases cheese chocolate clear clock clocks
    cloud clouds coal colour comes copies copper cup cups dawn day december degrees desert doctor dog dogs draw
    drawn dubai ears eight eleven february fewer finds fins fish five flame flamingos flies floats flower
    flowers for forest four frogs from fruit full gets gives grapes grass green guitar guitars has hat hats have
    head heart hearts heavy her hexagon hexagons his hisses holds honey hour hours house houses how i in indoors
    ink inside instrument iron is it january jeans july june just keeps kite kites larger left legs lemons life
    light like lithium litmus live lives loads london long looks loses love loves make makes many march may
    meows mice midnight milk minus monkeys month months moon moons more moscow mouse move mud mushroom mushrooms
    needs nests neutral new next night nine no none noon north not november number october octopus octopuses of
    old on one opera or orange pagoda pagodas paris people ph picture pigs pink plain plant please plums plus pm
    points potassium pumpkins purple put pyramid pyramids rabbit rabbits rain rains rainy ravens red remove
    repeats right rio rises rock rocket rockets room roses row runs salt sand say scooter scooters sea season
    september seven shape shapes shell shines side sides sings sinks sits six sky slow smaller snake snakes snow
    soap sodium south spring square squares squeaks squirts stands star stars string strings summer sunny
    sunrise sydney tall tea tells ten than that the them there they thing things this three time to together
    tokyo tom tower towers toy tree trees triangle triangles truck trucks turtle turtles twelve twice two
    umbrella umbrellas under vehicle vehicles very violin violins was water what wheel wheelbarrow wheelbarrows
    wheels when where which white who wind wings winter with wood yellow yes york zero
"""

WORDS: tuple[str, ...] = (*_SIGNS.split(), *(str(n) for n in range(_HIGHEST + 1)), *_WORDS.split())
