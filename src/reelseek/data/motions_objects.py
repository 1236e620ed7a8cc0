"""The objects of the synthetic benchmark: a label, a synonym where one exists, and the characters that draw it.

A table and nothing else. Format of an entry: `label|synonym=glyphs`; entries are separated by semicolons.
Every glyph of an entry shows the same kind of thing, so a caption about one is true of the others.
"""

from __future__ import annotations

from typing import NamedTuple


class Object(NamedTuple):
    """A drawable thing: its names (the first is the label) and its glyphs, one character each."""

    names: tuple[str, ...]
    glyphs: tuple[str, ...]


_TABLE = """
dog|hound=🐕🐶; cat|kitty=🐈🐱; mouse=🐁🐭; rabbit|bunny=🐇🐰; bear=🐻; panda=🐼; koala=🐨; tiger=🐅🐯; lion=🦁;
cow=🐄🐮; pig|hog=🐖🐷; frog=🐸; monkey=🐒🐵; chicken|hen=🐔; penguin=🐧; duck=🦆; eagle=🦅; owl=🦉; bat=🦇; wolf=🐺;
horse=🐎🐴; unicorn=🦄; bee|honeybee=🐝; caterpillar=🐛; butterfly=🦋; snail=🐌; beetle|ladybug=🐞; ant=🐜; spider=🕷;
scorpion=🦂; turtle|tortoise=🐢; snake|serpent=🐍; lizard=🦎; octopus=🐙; squid=🦑; shrimp|prawn=🦐; lobster=🦞;
crab=🦀; fish=🐟🐠; dolphin=🐬; whale=🐋🐳; shark=🦈; crocodile|alligator=🐊; zebra=🦓; gorilla=🦍; orangutan=🦧;
elephant=🐘; hippopotamus|hippo=🦛; rhinoceros|rhino=🦏; camel=🐪🐫; giraffe=🦒; kangaroo=🦘; sheep=🐑; goat=🐐;
llama|alpaca=🦙; deer|stag=🦌; turkey=🦃; peacock=🦚; parrot=🦜; swan=🦢; flamingo=🦩; raccoon=🦝; skunk=🦨;
badger=🦡; otter=🦦; sloth=🦥; rat=🐀; squirrel|chipmunk=🐿; hedgehog=🦔; dragon=🐉; dinosaur|sauropod=🦕; fox=🦊;
buffalo|bison=🐃; leopard=🐆; beaver=🦫; mammoth=🦣; seal=🦭; mosquito=🦟; cricket|grasshopper=🦗; shell|seashell=🐚;
dove|pigeon=🕊; chick=🐥🐤; apple=🍎🍏; pear=🍐; orange|tangerine=🍊; lemon=🍋; banana=🍌; watermelon|melon=🍉;
strawberry=🍓; cherry=🍒; peach=🍑; mango=🥭; pineapple=🍍; coconut=🥥; kiwi=🥝; tomato=🍅; aubergine|eggplant=🍆;
avocado=🥑; carrot=🥕; corn cob|maize cob=🌽; pepper|chilli=🌶; cucumber=🥒; mushroom|toadstool=🍄; peanut=🥜;
chestnut=🌰; loaf of bread|bread loaf=🍞; croissant=🥐; baguette=🥖; pretzel=🥨; bagel=🥯; pancake=🥞;
wedge of cheese|cheese wedge=🧀; hamburger|burger=🍔; pizza=🍕; hot dog=🌭; sandwich=🥪; taco=🌮; burrito=🌯;
fried egg=🍳; popcorn bucket=🍿; sushi roll=🍣; ice cream=🍦🍨; doughnut|donut=🍩; cookie|biscuit=🍪;
birthday cake=🎂; cupcake=🧁; pie=🥧; chocolate bar=🍫; sweet|candy=🍬; lollipop=🍭; honey pot=🍯;
glass of milk|milk glass=🥛; teapot=🫖; wine glass=🍷; beer mug=🍺; onion=🧅; potato=🥔; broccoli=🥦;
car|automobile=🚗🚙; bus=🚌; ambulance=🚑; fire engine|fire truck=🚒; lorry|truck=🚚🚛; tractor=🚜; scooter=🛴;
bicycle|bike=🚲; motorcycle|motorbike=🏍; train=🚆; tram|streetcar=🚊; aeroplane|airplane=✈; helicopter=🚁;
rocket|spaceship=🚀; flying saucer=🛸; sailing boat|sailboat=⛵; speedboat|motorboat=🚤; ship=🚢; canoe=🛶; anchor=⚓;
wheelchair=🦽; skateboard=🛹; sled|sledge=🛷; traffic light=🚦; petrol pump|gas pump=⛽; football|soccer ball=⚽;
basketball=🏀; baseball=⚾; tennis ball=🎾; rugby ball=🏉; volleyball=🏐; bowling pin=🎳; frisbee=🥏; boomerang=🪃;
kite=🪁; yo-yo=🪀; dartboard|bullseye=🎯; trophy=🏆; medal=🏅; boxing glove=🥊; game pad|controller=🎮; die=🎲;
chess pawn=♟; teddy bear=🧸; jigsaw piece|puzzle piece=🧩; guitar=🎸; violin|fiddle=🎻; trumpet=🎺; saxophone=🎷;
drum=🥁; piano keyboard=🎹; accordion=🪗; banjo=🪕; microphone=🎤; headset=🎧; radio=📻; paint palette=🎨;
telephone|phone=☎; mobile phone|smartphone=📱; laptop|notebook computer=💻; printer=🖨; floppy disk|diskette=💾;
camera=📷📸; camcorder|video recorder=📹; television|TV set=📺; light bulb|lamp=💡; torch|flashlight=🔦; candle=🕯;
book=📕📗📘; newspaper=📰; envelope=✉; parcel|package=📦; pencil=✏; paintbrush=🖌; crayon=🖍; briefcase=💼; calendar=📅;
pushpin=📌; paper clip=📎; ruler=📏; bin|trash can=🗑; padlock|lock=🔒; key=🔑; hammer=🔨; axe|hatchet=🪓; pickaxe=⛏;
dagger=🗡; bow and arrow=🏹; shield=🛡; saw=🪚; spanner|wrench=🔧; screwdriver=🪛; gear|cogwheel=⚙; magnet=🧲;
ladder=🪜; test tube=🧪; microscope=🔬; telescope=🔭; satellite dish=📡; syringe=💉; pill=💊; door=🚪; bed=🛏;
chair=🪑; toilet=🚽; shower=🚿; bathtub=🛁; razor=🪒; broom=🧹; basket=🧺; bar of soap=🧼; sponge=🧽;
fire extinguisher=🧯; shopping trolley|shopping cart=🛒; umbrella|parasol=☂☔; balloon=🎈; gift|present=🎁; ribbon=🎀;
lantern=🏮; firecracker=🧨; crystal ball=🔮; clock=🕰⏰; watch|wristwatch=⌚; hourglass|sand timer=⏳; bell=🔔;
megaphone|loudspeaker=📢; compass=🧭; globe=🌍🌎; top hat=🎩; crown=👑; cap=🧢; graduation cap=🎓; shirt|T-shirt=👕;
dress=👗; coat=🧥; sock=🧦; glove=🧤; scarf=🧣; sneaker|trainer=👟; boot=👢; sandal=👡; handbag|purse=👜👛;
backpack|rucksack=🎒; lipstick=💄; ring=💍; diamond|gem=💎; necktie|tie=👔; tree=🌳🌲; cactus=🌵; sunflower=🌻;
tulip=🌷; rose=🌹; four-leaf clover=🍀; maple leaf=🍁; snowman=⛄☃; star=⭐; moon=🌙; sun=☀; cloud=☁; rainbow=🌈;
snowflake=❄; volcano=🌋; house=🏠; castle=🏰; tent=⛺; tower=🗼; robot=🤖; ghost=👻; skull=💀; pumpkin=🎃; heart=❤;
tooth=🦷; bone=🦴; brain=🧠; eye=👁; ear=👂; hand=✋; footprint=👣; money bag=💰;
"""


def _read(table: str) -> tuple[Object, ...]:
    entries = [entry.strip() for entry in table.replace("\n", " ").split(";")]
    pairs = [entry.split("=") for entry in entries if entry]
    return tuple(Object(tuple(names.split("|")), tuple(glyphs)) for names, glyphs in pairs)


OBJECTS: tuple[Object, ...] = _read(_TABLE)
