"""Common English nouns that people train LoRAs of, and those that only tell something about another noun.

Short lists, not a dictionary: a name that they lack is taken as a name.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BEINGS = _words(
    # people
    "person people man men woman women girl girls boy boys child children kid kids baby babies toddler teenager teen "
    "adult lady gentleman guy guys dude male female human couple father mother dad mom grandpa grandma grandfather "
    "grandmother brother sister husband wife son daughter uncle aunt bride groom friend twin twins "
    # what they do and what they are in stories
    "actor actress singer dancer model celebrity athlete soldier warrior fighter knight paladin samurai ninja pirate "
    "viking king queen prince princess emperor empress wizard witch mage sorcerer sorceress warlock cleric priest "
    "priestess nun monk bard druid ranger archer hunter assassin rogue thief cowboy cowgirl sheriff detective police "
    "policeman officer firefighter astronaut pilot sailor captain doctor nurse scientist teacher student schoolgirl "
    "schoolboy chef maid butler waitress waiter farmer idol cheerleader superhero hero heroine villain clown mime "
    "catgirl foxgirl wolfgirl bunnygirl monstergirl mermaid elf dwarf orc goblin troll ogre giant fairy angel demon "
    "devil succubus vampire werewolf zombie ghost skeleton alien cyborg android robot mecha mech golem monster beast "
    "creature dragon wyvern unicorn pegasus griffin phoenix kitsune centaur minotaur gnome hobbit oni yokai slime "
    # animals
    "animal pet cat cats kitten kitty dog dogs puppy pup corgi pug husky poodle beagle bulldog labrador retriever "
    "shepherd terrier dachshund chihuahua pomeranian rottweiler dalmatian shiba bunny rabbit hare hamster mouse rat "
    "guinea squirrel chipmunk hedgehog ferret fox wolf bear panda koala lion lioness tiger leopard cheetah jaguar "
    "panther lynx cougar horse pony foal donkey mule zebra giraffe elephant rhino hippo cow bull ox calf pig boar "
    "sheep lamb goat deer stag elk moose reindeer camel llama alpaca monkey ape gorilla chimpanzee orangutan lemur "
    "sloth raccoon skunk badger otter beaver bat mole kangaroo wombat possum bird parrot budgie canary sparrow pigeon "
    "dove crow raven owl eagle hawk falcon vulture duck goose swan chicken hen rooster turkey peacock penguin "
    "flamingo pelican stork seagull fish goldfish shark whale dolphin orca seal walrus octopus squid jellyfish crab "
    "lobster shrimp turtle tortoise frog toad lizard gecko iguana chameleon snake crocodile alligator dinosaur trex "
    "raptor insect butterfly moth bee wasp ant beetle ladybug spider scorpion snail worm axolotl capybara"
)
"""People, creatures and animals."""

GARMENTS = _words(
    "outfit outfits clothes clothing costume cosplay uniform dress gown skirt miniskirt shirt tshirt t-shirt top "
    "sweater hoodie jacket coat cloak cape robe kimono yukata hanfu qipao cheongsam hanbok sari suit tuxedo bodysuit "
    "plugsuit swimsuit bikini leotard lingerie bra panties pants trousers jeans shorts leggings stockings socks "
    "pantyhose shoes boots sneakers heels sandals gloves hat cap helmet hood crown tiara scarf tie necktie bowtie "
    "apron armor armour corset vest overalls jumpsuit pajamas lederhosen dirndl glasses sunglasses goggles earrings "
    "necklace choker bracelet headband headphones mask blouse serafuku buruma"
)
"""What somebody wears."""

THINGS = _words(
    "car truck bus van bike bicycle motorcycle motorbike scooter train tram plane airplane helicopter boat ship "
    "submarine rocket spaceship spacecraft ufo tank tractor house castle tower church cathedral temple shrine bridge "
    "building skyscraper cottage cabin hut windmill lighthouse shop store cafe restaurant room kitchen bathroom street "
    "table chair sofa couch armchair bed desk lamp shelf bookshelf wardrobe mirror clock watch vase pot teapot kettle "
    "cup mug glass bottle bowl plate jar box basket backpack bag handbag suitcase purse umbrella book phone laptop "
    "computer keyboard camera tv guitar piano violin drum trumpet flute ball football basketball doll toy plush "
    "plushie teddy figurine figure statue sculpture bust sword katana knife dagger axe bow spear shield gun pistol "
    "rifle wand staff coin ring key candle lantern flag balloon kite tree flower rose tulip sunflower cactus mushroom "
    "plant bonsai apple banana orange strawberry cake cupcake pizza burger sushi cookie donut bread icecream "
    "sandwich teddybear"
)
"""Things that stand on their own."""

PARTS = _words(
    "face faces head heads hair fur mane body back chest belly stomach shoulder shoulders arm arms hand hands finger "
    "fingers leg legs foot feet toe toes paw paws claw claws hoof tail tails ear ears eye eyes eyebrows eyelashes nose "
    "snout beak mouth lips teeth tooth fang fangs tongue neck skin wing wings horn horns antlers feathers scales beard "
    "mustache moustache smile silhouette shadow reflection"
)
"""What belongs to somebody: in “the cat's face” the cat is meant."""


def is_being(word: str) -> bool:
    """Whether ``word`` is a kind of people, creature or animal; a number may stand before it: 1girl."""
    return word.casefold().lstrip("0123456789+") in BEINGS


def is_common(word: str) -> bool:
    """Whether ``word`` is in one of these lists; a number may stand before it."""
    return is_being(word) or is_class(word) or word.casefold() in PARTS


def is_class(word: str) -> bool:
    """Whether ``word`` says what kind of thing something is, so that it is no part of a name."""
    low = word.casefold()
    return low in BEINGS or low in THINGS or low in GARMENTS
