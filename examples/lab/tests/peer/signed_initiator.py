"""A client under the shim whose ULID is a CGA: its I2 is signed, and so is the Update Request by which it tells of another
ordinary address. Then the peer forgets all, and the I2bis is signed too."""

from responder import Answers
from shim6peer import packet
from shim6peer.checks import PORT, main
from shim6peer.packet import I2, I2BIS, UPDATE
from signed import SignedScenario


class SignedInitiator(SignedScenario, Answers):
    def run(self):
        self.serve(self.ulid, PORT)
        self.say("ready")
        self.run_until(lambda: self.context() is not None, 30, "a context")
        self.check_locators(self.got(I2)[-1])
        self.flows(0.5, header=False)

        start = len(self.trace)
        new = packet.pack_address(packet.show(self.subject[1]).replace("::53", "::54"))
        print(f"@addr add {packet.show(new)}/64 dev p2 nodad", flush=True)
        update = self.wait_for(UPDATE, since=start)
        self.check_locators(update, {*self.subject, new})
        self.run_until(lambda: new in self.context().locators, 1, "the new locator")
        self.say("told of another address")

        self.dead = {0}
        before = self.reports[-1][2]
        self.run_until(lambda: self.reports[-1][2] > before + 5 and self.reports[-1][4] is not None, 5, "path 2")
        self.flows(0.5, header=True)

        start = len(self.trace)
        self.endpoint.forget(self.context())
        self.check_locators(self.wait_for(I2BIS, since=start), {*self.subject, new})
        self.run_until(lambda: self.context() is not None, 3, "the recovered context")
        self.say("recovered")


if __name__ == "__main__":
    main(SignedInitiator)
