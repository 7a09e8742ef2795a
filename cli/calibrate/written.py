"""Rewordings written by hand, about other things than any check set: few words in common, one answer.

No rule finds these forms; a line is one question, asked in several ways.
"""

from __future__ import annotations

from itertools import permutations
from typing import Final

GROUPS: Final = tuple(
    tuple(line.split(" | "))
    for line in (
        "how late is the library open on saturdays | when does the library close on saturdays | what is the saturday closing time of the library",
        "how many books can i borrow at once | what is the maximum number of books on loan | is there a cap on how many books i may take out",
        "does the gym have a pool | is there a swimming pool at the gym | can i swim at the gym",
        "are dogs allowed on the bus | can i bring my dog on the bus | may dogs ride the bus | does the bus take dogs",
        "how heavy can my suitcase be | what is the weight limit for a suitcase | how much may my luggage weigh",
        "is breakfast included in the room price | does the room rate cover breakfast | do i pay extra for breakfast",
        "how early should i arrive at the airport | how long before departure must i be at the airport | at what time do i need to be at the airport before my flight",
        "what do i need to rent a car | which requirements are there for renting a car | what must i show to hire a car",
        "does the warranty cover water damage | is water damage covered by the warranty | am i covered by the warranty if it gets wet",
        "how do i return a pair of shoes | what is the way to send back shoes i bought | i want to give back the shoes, how does that work",
        "until when can i return an item | how many days do i have for a return | what is the deadline for returns",
        "why is my internet so slow | what makes my connection so sluggish | what is the cause of my slow internet",
        "how can i make my wifi faster | what can i do to speed up the wireless network | any way to get better wifi speed",
        "what is the boiling point of water in fahrenheit | at how many degrees fahrenheit does water boil | water boils at what temperature in fahrenheit",
        "who painted the night watch | which artist made the night watch | the night watch is a painting by whom",
        "what language do they speak in brazil | which language is spoken in brazil | what is the official tongue of brazil",
        "how far is the moon from the earth | what is the distance between earth and moon | how many miles away is the moon",
        "how long do cats live | what is the life expectancy of a cat | what age do cats reach",
        "what causes thunder | why does it thunder | where does the sound of thunder come from",
        "when was the telephone invented | in what year did the telephone come about | what is the date of the invention of the telephone",
        "how many players are on a volleyball team | what is the size of a volleyball team | a volleyball side consists of how many people",
        "is parking free at the museum | do i have to pay for parking at the museum | does parking at the museum cost anything",
        "what is the price of a monthly bus pass | how much is a bus pass for a month | what do i pay per month to ride the bus",
        "how do i reset my router | what are the steps to restart the router from scratch | how is the router set back to its factory state",
        "can i change my seat after check-in | is it possible to pick another seat once i have checked in | am i able to switch seats after checking in",
        "do students get a discount on train tickets | is there a reduced train fare for students | are train tickets cheaper for students",
        "are gift cards accepted online | can i pay with a gift card on the website | does the website take gift cards",
        "when will my parcel get here | how long until my package arrives | what is the delivery date of my parcel",
        "how long does delivery take | how many days until an order is delivered | when do orders usually arrive",
        "which sizes does the jacket come in | what sizes are there for the jacket | in which sizes is the jacket sold",
        "is the trail suitable for small children | can little kids walk the trail | is it fine to take toddlers on the trail",
        "do i need a visa for japan | is a visa required to enter japan | must i have a visa to travel to japan",
        "what is the emergency number in italy | which number do i call in an emergency in italy | whom do i phone for help in italy",
        "how do you cook brown rice | what is the method for making brown rice | in what way is brown rice prepared",
        "how many calories are in a banana | what is the calorie count of one banana | a banana has how many calories",
        "what does the abbreviation rsvp mean | what is rsvp short for | rsvp stands for which words",
        "is tap water safe to drink in vienna | can i drink from the tap in vienna | is it ok to drink vienna's tap water",
        "who is in charge of the school kitchen | which person runs the school kitchen | who heads the kitchen of the school",
        "what is the dress code for the opera | what should i wear to the opera | how are people supposed to dress at the opera",
        "where do i pick up my badge | at which place can i collect my badge | what is the pick-up point for badges",
        "does the plan include free calls abroad | are international calls free with this plan | can i call other countries for free on the plan",
        "which phones support the app | on what phones does the app run | what devices is the app compatible with",
        "how much data comes with the small plan | what is the data allowance of the small plan | the small plan has how many gigabytes",
        "is the concert sold out | are there still tickets for the concert | can i still get a ticket for the concert",
        "how do i stop getting the newsletter | what must i do to unsubscribe from the newsletter | i no longer want the newsletter, how do i end it",
        "why was my order cancelled | what is the reason my order got cancelled | how come you called off my order",
        "what happens if i lose my key card | what should i do when my key card is gone | my key card is lost, what now",
        "who qualifies for a season ticket | which people can get a season ticket | who is eligible for a season ticket",
        "what is the state of repair ticket R-118 | how far along is repair ticket R-118 | can you look up repair ticket R-118",
        "what is the room number of doctor stone | in which room is doctor stone | which room does doctor stone have",
        "is the course taught in english | do they teach the course in english | which language is the course in, english",
        "when is the last day to sign up | until what date can i register | what is the deadline for signing up",
        "how often is the trash picked up | how many times a week do they collect the garbage | what is the schedule for trash pickup",
        "are the lights turned off automatically | do the lights go off by themselves | is the switching off of lights automatic",
        "does the city tax dogs | is there a tax on dogs in the city | do dog owners in the city owe a tax",
        "who wrote the lyrics of the anthem | by whom are the words of the anthem | which poet penned the anthem",
        "when did the war of the roses end | in what year was the war of the roses over | the war of the roses lasted until when",
        "what team has won the most cups | which club holds the record for cups | who has more cups than any other team",
        "where was the series shot | what is the filming location of the series | in which place did they film the series",
        "who does the voice of the dragon | which actor speaks the dragon | the dragon is voiced by whom",
    )
)  # fmt: skip


def rewordings() -> list[tuple[str, str]]:
    """Return every two forms of one question, in both orders."""
    return [pair for group in GROUPS for pair in permutations(group, 2)]
