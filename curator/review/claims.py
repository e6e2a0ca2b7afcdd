"""What a reviewer holds: images claimed for a while, and their cards as of now.

A claim keeps an image from everybody else until it expires, and lives on as long as
somebody works. Cards are loaded for many at once, and again when something was said about
an image meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from curator.catalogue import claims
from curator.catalogue.labels import current
from curator.review.cards import ImageCard, load_image_cards
from curator.workspace import Workspace

CLAIM_SECONDS = 600.0


class SessionClaims:
    """The images of one session. The desk's lock is held by whoever calls."""

    def __init__(
        self, workspace: Workspace, *, actor: str, session: str, clock: Callable[[], float]
    ) -> None:
        self._workspace = workspace
        self._actor = actor
        self._session = session
        self._clock = clock
        self._claimed_at = clock()
        self._cards: dict[int, ImageCard] = {}

    def __contains__(self, image_id: int) -> bool:
        """Whether the card is there."""
        return image_id in self._cards

    def card(self, image_id: int) -> ImageCard:
        """The card as it was loaded last."""
        return self._cards[image_id]

    def claim(self, image_ids: Sequence[int], queue: str) -> list[int]:
        """Those of the images that nobody else has; now this session has them."""
        return claims.claim(
            self._workspace.catalogue,
            image_ids,
            queue=queue,
            actor=self._actor,
            session=self._session,
            seconds=CLAIM_SECONDS,
        )

    def renew(self, image_ids: Sequence[int], queue: str) -> None:
        """Claim again what is still to come, now and then; a pause lets others have it."""
        if self._clock() - self._claimed_at > CLAIM_SECONDS / 4:
            self._claimed_at = self._clock()
            self.claim(image_ids, queue)

    def release(self) -> None:
        """Let others have everything."""
        claims.release(self._workspace.catalogue, session=self._session)

    def load(
        self, image_ids: Sequence[int], *, why: Mapping[int, str], keep: Iterable[int]
    ) -> None:
        """Load cards, and keep only those of the others that are still to come."""
        loaded = load_image_cards(self._workspace, image_ids, why=why, blind=False)
        kept = {one: self._cards[one] for one in keep if one in self._cards}
        self._cards = kept | loaded

    def fresh(self, image_id: int, *, keep: Iterable[int]) -> ImageCard:
        """The card of an image, loaded again if something was said about it meanwhile."""
        known = self._cards.get(image_id)
        now = current(self._workspace.catalogue, [image_id]).get(image_id)
        if known is None or now is None or now.event_id != known.event_id:
            why = {image_id: known.why} if known is not None else {}
            self.load([image_id], why=why, keep=keep)
        return self._cards[image_id]
