"""A client under the shim, and an R1 whose validator leaves the I2 no room for a Locator List: the I2 keeps to 1280 octets,
and the list follows in an Update Request (RFC 5533 5.1)."""

from responder import Answers
from shim6peer import packet
from shim6peer.checks import PORT, main
from shim6peer.context import Endpoint
from shim6peer.packet import I2, LOCATORS, PDS, UPDATE


class Wordy(Endpoint):
    validator_length = 1150


class Crowded(Answers):
    endpoint_class = Wordy

    def run(self):
        self.serve(self.ulid, PORT)
        self.say("ready")
        i2 = self.wait_for(I2, seconds=30).message
        self.run_until(lambda: self.context() is not None, 1, "a context by an I2 with a validator of 1150 octets")
        self.claim(i2.option(LOCATORS) is None, "our own fault: there was room for a list")
        update = self.wait_for(UPDATE, seconds=5)
        self.claim(update.message.option(LOCATORS) is not None, "an update without the list", update)
        self.claim(update.message.option(PDS) is not None, "no PDS although the peer never got it (5.10)", update)
        self.check_locators(update)
        self.flows(0.5, header=False)
        self.dead = {0}
        before = self.reports[-1][2]
        self.run_until(lambda: self.reports[-1][2] > before + 5 and self.reports[-1][4] is not None, 5, "path 2")
        self.flows(1.0, header=True)
        self.say("the list came by an update, and path 2 works")


if __name__ == "__main__":
    main(Crowded)
