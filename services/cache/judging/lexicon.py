"""Words that change an answer when one takes another's place, and words that do not.

Written by hand, in lower case. A class holds words of one kind, any of which gives another
answer than any other; opposites turn a question round; synonyms leave its answer alone.
"""

from __future__ import annotations

from typing import Final

FIRST_NAMES: Final = tuple(
    (
        "alice amir angela anita arthur barbara beatrice benjamin bianca boris bruce carla carmen cecilia chen "
        "clara colin dana daniel deborah diego dmitri edith elena emil erik esther fatima felix fiona francis "
        "gabriel george gloria grace gustav hannah harold hassan helen henry igor ingrid irene ivan jack jane "
        "javier joan john jonas jorge joyce julia karen karl keiko kurt laila lars leon linda lucas luis "
        "maria mark martha martin max miguel mona nadia nancy nils nina norma olga oliver oscar pablo patricia "
        "paul pedro peter philip priya rachel rahul ralph raymond rita robert rosa ruth samuel sandra sara "
        "simon sofia stefan susan tanya thomas tina tom ursula victor walter wei william yusuf zoe"
    ).split()
)
LAST_NAMES: Final = tuple(
    (
        "adams ahmed baker becker bennett berg brooks brown campbell carter castro chang cohen collins cooper "
        "cruz davies diaz edwards evans fischer fisher fleming foster garcia gomez gray green hall hansen "
        "harper hill hoffman hughes ito ivanov jackson james jensen johnson jones kelly khan kim kowalski kumar "
        "larsen lee lewis lopez martin meyer miller mitchell moore morgan murphy nelson nguyen novak olsen "
        "ortiz owens park parker patel petrov quinn reed rivera roberts rossi russo santos schmidt schneider "
        "scott sharma silva singh smith sokolov stone sullivan suzuki tanaka taylor thompson turner wagner "
        "walker wang watson weber white williams wilson wong wood wright yamamoto young zhang"
    ).split()
)

CLASSES: Final = tuple(
    tuple(line.split(", "))
    for line in (
        "monday, tuesday, wednesday, thursday, friday, saturday, sunday",
        "january, february, march, april, june, july, august, september, october, november, december",
        "spring, summer, autumn, winter",
        "france, spain, italy, germany, portugal, poland, sweden, norway, denmark, finland, austria, greece, turkey, "
        "russia, ukraine, china, japan, india, pakistan, korea, vietnam, thailand, indonesia, australia, canada, mexico, brazil, "
        "argentina, chile, peru, egypt, nigeria, kenya, ghana, morocco, iran, iraq, israel, ireland, scotland, wales, england, "
        "switzerland, belgium, netherlands, hungary, romania, cuba, jamaica, singapore, malaysia, philippines",
        "paris, london, berlin, madrid, rome, vienna, prague, warsaw, moscow, tokyo, beijing, shanghai, delhi, mumbai, "
        "sydney, toronto, chicago, boston, dallas, houston, seattle, denver, miami, atlanta, phoenix, detroit, philadelphia, "
        "dublin, lisbon, oslo, cairo, istanbul, bangkok, dubai",
        "california, texas, florida, virginia, georgia, ohio, michigan, oregon, nevada, alaska, hawaii, utah, kansas, alabama, "
        "louisiana, kentucky, tennessee, colorado, arizona, iowa, maine, montana, wisconsin, minnesota, missouri, pennsylvania",
        "american, british, english, french, spanish, german, italian, dutch, polish, russian, chinese, japanese, indian, "
        "canadian, mexican, australian, irish, scottish, swedish, greek, turkish, egyptian, roman, african, european, asian",
        "red, blue, green, yellow, black, white, purple, orange, pink, brown, grey, silver",
        "gold, silver, bronze, platinum",
        "basic, standard, premium, free, pro, enterprise, plus",
        "visa, mastercard, amex, paypal",
        "credit, debit, prepaid, virtual, disposable, gift",
        "checking, savings, business, joint, brokerage, retirement",
        "mortgage, loan, overdraft, pension, insurance, credit card, debit card, savings account",
        "card, account, passport, phone, pin, password, statement, cheque, transfer, refund, top-up",
        "transfer, withdrawal, deposit, payment, purchase, refund",
        "iphone, android, windows, linux, mac",
        "dollars, euros, pounds, yen, francs, pesos, rupees",
        "usd, eur, gbp, jpy, chf, aud, cad",
        "miles, kilometers, meters, feet, yards, inches, centimeters",
        "grams, kilograms, ounces, tons, tablespoons, cups, liters, gallons, pints",
        "seconds, minutes, hours, days, weeks, months, years, decades",
        "second, minute, hour, day, week, month, year, decade, century",
        "daily, weekly, monthly, quarterly, yearly",
        "morning, afternoon, evening, night",
        "breakfast, lunch, dinner",
        "football, basketball, baseball, hockey, cricket, rugby, tennis, golf, soccer, boxing",
        "piano, guitar, violin, drums, bass, trumpet, flute, saxophone, cello",
        "dog, cat, horse, cow, pig, sheep, goat, bird, fish, snake, mouse, lion, tiger, bear, wolf, elephant, "
        "frog, turtle, duck, bee, spider, shark, whale, monkey, fox, deer, squirrel, hawk, lizard, camel",
        "doctor, nurse, teacher, lawyer, engineer, farmer, driver, singer, dancer, writer, painter, "
        "pilot, soldier, judge, baker, butcher, carpenter, plumber, scientist, chemist, historian, banker, architect, waiter",
        "apple, banana, orange, lemon, grape, peach, cherry, mango, melon, tomato, potato, onion, carrot, bean, rice, corn",
        "milk, water, wine, beer, coffee, tea, juice, soda",
        "beef, chicken, pork, fish, lamb, turkey, bacon",
        "gold, iron, copper, zinc, lead, tin, nickel, aluminum, titanium",
        "oxygen, hydrogen, nitrogen, carbon, helium, sulfur, chlorine, sodium, calcium, potassium",
        "earth, mars, venus, jupiter, saturn, mercury, neptune, uranus, pluto",
        "heart, liver, lung, kidney, brain, stomach, skin, eye, ear, nose, knee, bone",
        "north, south, east, west",
        "northern, southern, eastern, western, central",
        "first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth, last",
        "one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, fifteen, twenty, thirty, fifty, hundred",
        "singer, actor, director, producer, author, writer, drummer, guitarist",
        "book, movie, song, show, series, album, game, play, poem, novel",
        "king, queen, prince, president, governor, mayor, senator, minister, emperor, pope",
        "executive, legislative, judicial",
        "battle, war, treaty, revolution, election, constitution",
        "population, area, capital, currency, flag, language, climate, economy",
        "length, width, height, depth, weight, speed, age, price, size, temperature",
        "fee, limit, rate, balance, interest, deadline, penalty, minimum",
        "wrote, sang, directed, produced, played, recorded, painted, invented, founded, designed",
        "who, where, when, why, how",
        "city, country, state, continent, county, village, river, mountain, island, ocean",
        "email, phone number, address, date of birth, name, password, username",
        "flight, hotel, car, train, bus, taxi, cruise, restaurant",
        "catholic, protestant, muslim, jewish, hindu, buddhist, orthodox",
        "liberal, conservative, socialist, communist, republican, democrat",
        "boy, girl, man, woman, child, baby, adult, teenager, student, senior",
        "kind, rude, honest, lazy, brave, shy, famous, wealthy, tall, intelligent, funny, patient, nervous, creative",
        "happy, sad, angry, afraid, tired, hungry, bored, proud, jealous, lonely",
        "cost, weigh, last, measure, contain",
    )
)

OPPOSITES: Final = tuple(
    tuple(pair.split("/"))
    for pair in (
        "before/after above/below over/under inside/outside north/south east/west left/right up/down "
        "buy/sell deposit/withdraw send/receive borrow/lend import/export increase/decrease raise/lower "
        "enter/leave open/close activate/deactivate enable/disable upgrade/downgrade start/stop begin/end "
        "first/last oldest/youngest oldest/newest largest/smallest biggest/smallest highest/lowest longest/shortest "
        "tallest/shortest fastest/slowest most/least more/less more/fewer maximum/minimum best/worst better/worse "
        "won/lost win/lose winner/loser born/died birth/death husband/wife father/mother son/daughter brother/sister "
        "king/queen he/she his/her him/her man/woman men/women male/female boy/girl uncle/aunt "
        "hot/cold warm/cool old/new old/young early/late earlier/later large/small big/small high/low long/short "
        "tall/short fast/slow rich/poor strong/weak hard/soft light/dark light/heavy thick/thin wide/narrow deep/shallow "
        "happy/sad good/bad right/wrong true/false safe/dangerous easy/difficult cheap/expensive clean/dirty wet/dry "
        "full/empty public/private domestic/foreign domestic/international internal/external legal/illegal "
        "positive/negative active/passive optimistic/pessimistic modern/ancient permanent/temporary single/double "
        "accept/reject approve/decline allow/forbid include/exclude add/remove attach/detach arrive/depart "
        "arrival/departure entry/exit incoming/outgoing upload/download lock/unlock freeze/unfreeze block/unblock "
        "pass/fail passed/failed gain/lose love/hate remember/forget push/pull ask/answer teach/learn "
        "attack/defend attacked/defended enemy/ally rise/fall rose/fell joined/left hired/fired opened/closed "
        "started/ended began/ended appear/disappear appeared/disappeared always/never with/without for/against "
        "from/to in/out on/off since/until upper/lower front/back top/bottom major/minor senior/junior "
        "majority/minority supply/demand cause/effect debit/credit buyer/seller buying/selling sender/recipient "
        "employer/employee teacher/student landlord/tenant parent/child gross/net hardware/software "
        "online/offline manual/automatic urban/rural day/night sunrise/sunset summer/winter peace/war "
        "offense/defense home/away ascending/descending odd/even acid/base simple/complex"
    ).split()
)

# Words of which one denies the other, so that "not the one" says the other.
COMPLEMENTS: Final = tuple(
    tuple(pair.split("/"))
    for pair in (
        "legal/illegal safe/unsafe possible/impossible visible/invisible active/inactive correct/incorrect "
        "valid/invalid known/unknown available/unavailable able/unable healthy/unhealthy usual/unusual common/uncommon "
        "complete/incomplete dependent/independent alive/dead true/false single/married open/closed empty/full "
        "honest/dishonest happy/unhappy fair/unfair lucky/unlucky certain/uncertain important/unimportant "
        "necessary/unnecessary polite/rude awake/asleep mortal/immortal moral/immoral patient/impatient "
        "religious/secular optimistic/pessimistic positive/negative tidy/messy kind/unkind friendly/unfriendly"
    ).split()
)

SYNONYMS: Final = tuple(
    tuple(line.split(", "))
    for line in (
        "movie, film",
        "big, large",
        "begin, start",
        "began, started",
        "begins, starts",
        "end, finish",
        "usa, united states, us",
        "uk, united kingdom",
        "buy, purchase",
        "bought, purchased",
        "get, obtain, receive",
        "got, received, obtained",
        "located, situated",
        "happen, occur, take place",
        "happened, occurred, took place",
        "made, created",
        "make, create",
        "show, tv show, television show",
        "tv, television",
        "kids, children",
        "kid, child",
        "person, individual",
        "people, persons",
        "job, occupation, profession",
        "called, named",
        "stand for, mean",
        "stands for, means",
        "famous, well-known",
        "fast, quick",
        "quickly, fast",
        "need to, have to, must",
        "whole, entire",
        "help, assist",
        "fix, repair, resolve",
        "wrong, incorrect",
        "right, correct",
        "rich, wealthy",
        "smart, intelligent, clever",
        "happy, glad",
        "sad, unhappy",
        "scared, afraid, frightened",
        "brave, courageous",
        "angry, mad",
        "tired, weary",
        "difficult, hard",
        "easy, simple",
        "important, significant",
        "strange, odd, weird",
        "quiet, silent",
        "ill, sick",
        "funny, amusing, humorous",
        "pretty, beautiful",
        "polite, courteous",
        "honest, truthful",
        "sure, certain",
        "car, automobile",
        "lawyer, attorney",
        "doctor, physician",
        "teacher, instructor",
        "author, writer",
        "singer, vocalist",
        "cellphone, mobile phone, cell phone",
        "picture, photo, image",
        "store, shop",
        "street, road",
        "town, city",
        "home, house",
        "couch, sofa",
        "trip, journey",
        "fall, autumn",
        "soccer, football",
        "gas, petrol",
        "vacation, holiday",
        "trash, garbage, rubbish",
        "money, funds",
        "fee, charge",
        "fees, charges",
        "charged, billed",
        "atm, cash machine",
        "cancel, call off",
        "check, verify",
        "change, alter, modify",
        "changed, altered",
        "close, shut",
        "choose, pick, select",
        "gave, provided",
        "allowed, permitted",
        "allow, permit, let",
        "enough, sufficient",
        "build, construct",
        "built, constructed",
        "establish, found, set up",
        "established, founded, set up",
        "invented, devised",
        "discovered, found",
        "release, come out",
        "released, put out",
        "die, pass away",
        "died, passed away",
        "killed, slain",
        "speak, talk",
        "trust, rely on",
        "want, wish, would like",
        "use, utilize",
        "used, utilized",
        "need, require",
        "needed, required",
        "live, reside",
        "lives, resides",
        "lived, resided",
        "own, possess",
        "owns, possesses",
        "owned, possessed",
        "leader, head",
        "boss, chief",
        "role, part",
        "kind, type, sort",
        "kinds, types, sorts",
        "portion, share",
        "near, close to",
        "around, about, approximately",
        "currently, at present, presently",
        "mostly, mainly, primarily",
        "often, frequently",
        "several, a number of",
        "because of, due to, owing to",
        "in order to, so as to",
        "through, via",
        "regarding, about, concerning",
        "many, numerous",
        "also, as well as this, too",
        "however, though, nevertheless",
        "while, whereas",
        "shows, demonstrates",
        "show, demonstrate, display",
        "said, stated",
        "says, states",
        "considered, regarded as",
        "led, headed",
        "known as, called",
        "remained, stayed",
        "increased, grew, rose",
        "decreased, fell, dropped",
        "ended, finished, concluded",
        "took over, assumed control of",
        "approximately, roughly, about",
        "primarily, chiefly",
        "resulted in, led to",
        "results in, leads to",
        "entire, whole",
        "initially, at first",
        "finally, in the end",
        "subsequently, afterwards, later",
        "previously, formerly, earlier",
        "lost, misplaced",
        "stolen, taken",
        "set up, configure",
        "reset, change",
        "declined, rejected, refused",
        "arrive, get here, come",
        "wait, hold on",
        "expense, cost",
        "error, mistake",
        "issue, problem",
        "app, application",
        "info, information",
        "id, identification",
        "pin, pin number",
        "documents, paperwork",
        "top up, add money to",
        "exchange rate, conversion rate",
        "per month, each month, monthly",
        "per year, each year, annually",
        "nearest, closest",
        "total, overall",
        "maximum, most",
        "supported, accepted",
        "automatically, by itself",
        "contact, get in touch with, reach",
        "phone, telephone",
        "find out, learn, discover",
        "cash back, cashback",
        "recover, retrieve",
        "delete, remove, erase",
        "obtain, acquire",
        "seek, look for",
        "answer, reply",
        "big, huge",
        "ship, boat",
        "woods, forest",
        "wed, married",
        "jail, prison",
        "present, gift",
        "father, dad",
        "mother, mom",
        "song, track",
        "tune, melody",
        "battle, fight",
        "attempt, try",
        "attempted, tried",
        "gather, collect",
        "gathered, collected",
        "obtained, gained",
        "area, region",
        "state, say",
        "wife, spouse",
        "rules, regulations",
        "gets, receives",
    )
)

# Said of a thing, they narrow it; said of nothing in particular, fillers leave it alone.
NARROWING: Final = tuple(
    (
        "new old bad good great young former female foreign online temporary joint small large second rare "
        "modern ancient electric wooden digital annual national local private public average single married retired "
        "frozen cheap expensive professional amateur religious fake permanent international remote indoor "
        "contactless lost expired dangerous minor major adult disabled pregnant unemployed british american chinese french"
    ).split()
)
FILLERS: Final = (
    "really",
    "actually",
    "truly",
    "indeed",
    "just",
    "exactly",
    "honestly",
    "literally",
    "simply",
)

NUMBER_WORDS: Final = {
    "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six", "7": "seven",
    "8": "eight", "9": "nine", "10": "ten", "11": "eleven", "12": "twelve", "20": "twenty",
    "30": "thirty", "50": "fifty", "100": "one hundred", "1st": "first", "2nd": "second",
    "3rd": "third", "4th": "fourth", "5th": "fifth",
}  # fmt: skip

CONTRACTIONS: Final = (
    ("what is", "what's"), ("who is", "who's"), ("where is", "where's"), ("how is", "how's"),
    ("when is", "when's"), ("it is", "it's"), ("i am", "i'm"), ("i have", "i've"), ("i would", "i'd"),
    ("do not", "don't"), ("does not", "doesn't"), ("did not", "didn't"), ("is not", "isn't"),
    ("are not", "aren't"), ("was not", "wasn't"), ("can not", "can't"), ("cannot", "can't"),
    ("could not", "couldn't"), ("would not", "wouldn't"), ("has not", "hasn't"),
    ("have not", "haven't"), ("that is", "that's"), ("there is", "there's"), ("will not", "won't"),
)  # fmt: skip

# base, past, participle; regular verbs are formed by rule.
VERBS: Final = tuple(
    tuple(each.split("/"))
    for each in (
        "write/wrote/written sing/sang/sung make/made/made win/won/won lead/led/led build/built/built "
        "find/found/found discover/discovered/discovered invent/invented/invented paint/painted/painted direct/directed/directed "
        "produce/produced/produced play/played/played found/founded/founded design/designed/designed create/created/created "
        "kill/killed/killed defeat/defeated/defeated conquer/conquered/conquered invade/invaded/invaded rule/ruled/ruled "
        "own/owned/owned buy/bought/bought sell/sold/sold publish/published/published record/recorded/recorded "
        "develop/developed/developed introduce/introduced/introduced establish/established/established "
        "assassinate/assassinated/assassinated shoot/shot/shot teach/taught/taught elect/elected/elected "
        "sign/signed/signed compose/composed/composed follow/followed/followed replace/replaced/replaced "
        "succeed/succeeded/succeeded support/supported/supported attack/attacked/attacked influence/influenced/influenced "
        "control/controlled/controlled use/used/used see/saw/seen know/knew/known give/gave/given take/took/taken "
        "beat/beat/beaten hire/hired/hired marry/married/married help/helped/helped call/called/called "
        "describe/described/described propose/proposed/proposed name/named/named govern/governed/governed "
        "commission/commissioned/commissioned fund/funded/funded organize/organized/organized host/hosted/hosted"
    ).split()
)

# What is said before a question, and after it, and asks nothing itself.
OPENERS: Final = (
    "please",
    "hello",
    "hi",
    "hey",
    "good morning",
    "good evening",
    "excuse me",
    "sorry",
    "thanks",
    "thank you",
    "ok",
    "okay",
    "tell me",
    "can you tell me",
    "could you tell me",
    "would you tell me",
    "can you please tell me",
    "could you please tell me",
    "can anyone tell me",
    "can somebody tell me",
    "do you know",
    "does anyone know",
    "i would like to know",
    "i want to know",
    "i need to know",
    "i wonder",
    "i am wondering",
    "i was wondering",
    "i was just wondering",
    "just wondering",
    "quick question",
    "i have a question",
    "may i ask",
    "can i ask",
    "let me ask",
)
CLOSERS: Final = ("please", "thanks", "thank you", "thanks a lot", "many thanks", "thx")
