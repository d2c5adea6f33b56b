"""How visible a change is to judges that no ball and no attack was made for: reference implementations of others.
And how far a network follows a map: insertion and deletion `curves`."""

from perceptlib.judges.judging import JUDGES, available, judge, magnified, scaled_to_loss

__all__ = ["JUDGES", "available", "judge", "magnified", "scaled_to_loss"]
