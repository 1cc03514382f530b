"""The posterior of a head: a mixed-effects logistic regression, by Gibbs sampling."""
