//! Stochastic gradient descent with momentum and weight decay.

use ocelli_network::tch::{self, Tensor};

use crate::error::{Error, Result, Torch};
use crate::team::copy;

/// v ← μ v + (g + λ w), then w ← w − η v, for every trained tensor: as PyTorch's SGD without
/// dampening. Memory: as much again as the weights.
pub struct Sgd {
    parameters: Vec<Tensor>,
    /// Of each copy of the network its tensors, in the order of the parameters, of which they are
    /// the first.
    copies: Vec<Vec<Tensor>>,
    /// Learning rates are so many times that of a step.
    factors: Vec<f64>,
    velocity: Vec<Tensor>,
    momentum: f64,
    weight_decay: f64,
}

impl Sgd {
    /// Over tensors that gradients are made for, each with a factor of its learning rate. At rest:
    /// all velocities are 0. Gradients of `copies` are added in their order, and steps are theirs,
    /// too.
    ///
    /// # Errors
    /// `Torch` when memory runs out.
    pub fn new(
        all: Vec<(Tensor, f64)>,
        copies: Vec<Vec<Tensor>>,
        momentum: f64,
        weight_decay: f64,
    ) -> Result<Sgd> {
        let (parameters, factors): (Vec<Tensor>, Vec<f64>) = all.into_iter().unzip();
        let velocity = parameters.iter().map(|tensor| tensor.f_detach()?.f_zeros_like());
        let velocity = velocity.collect::<Torch<_>>().map_err(Error::torch("making velocities"))?;
        Ok(Sgd { parameters, copies, factors, velocity, momentum, weight_decay })
    }

    /// The tensors that steps change.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// Everything that a step changes.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters.iter().chain(&self.velocity)
    }

    /// The velocities, in the order of the parameters.
    pub fn velocity(&self) -> &[Tensor] {
        &self.velocity
    }

    /// Makes one step from the gradients, and sets these to 0.
    ///
    /// # Errors
    /// `Torch`.
    pub fn step(&mut self, rate: f64) -> Result<()> {
        let (momentum, decay) = (self.momentum, self.weight_decay);
        let mut all = || -> Torch<()> {
            let velocities = self.factors.iter().zip(&mut self.velocity);
            for (at, (weight, (factor, velocity))) in
                self.parameters.iter_mut().zip(velocities).enumerate()
            {
                let mut moved = velocity.f_mul_scalar(momentum)?;
                let copies = self.copies.iter().filter_map(|copy| copy.get(at));
                for tensor in std::iter::once(&*weight).chain(copies) {
                    let mut gradient = tensor.f_grad()?;
                    if gradient.defined() {
                        moved = moved.f_add(&gradient)?;
                        let _ = gradient.f_zero_()?;
                    }
                }
                moved = moved.f_add(&weight.f_detach()?.f_mul_scalar(decay)?)?;
                velocity.f_copy_(&moved)?;
                weight.f_copy_(&weight.f_sub(&moved.f_mul_scalar(rate * factor)?)?)?;
            }
            Ok(())
        };
        tch::no_grad(&mut all).map_err(Error::torch("a step"))?;
        self.follow()
    }

    /// Gives the copies the values of the parameters.
    ///
    /// # Errors
    /// `Torch`.
    pub fn follow(&self) -> Result<()> {
        copy(&self.parameters, &self.copies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::doubles;

    /// Three steps down a parabola, against the two formulas in plain numbers.
    #[test]
    fn steps_are_those_of_the_formula() {
        let start = [1.0f64, -2.0, 0.5];
        let leaf = || Tensor::from_slice(&start).set_requires_grad(true);
        let (weight, copied) = (leaf(), leaf());
        let copies = vec![vec![copied.shallow_clone()]];
        let mut sgd = Sgd::new(vec![(weight.shallow_clone(), 0.5)], copies, 0.9, 5e-5).unwrap();
        let (mut w, mut v) = (start, [0.0; 3]);
        for rate in [0.1, 0.1, 0.01] {
            // The gradient of Σ w² is 2 w; half of it is that of the copy.
            for tensor in [&weight, &copied] {
                (tensor.square() * 0.5).sum(tch::Kind::Double).backward();
            }
            sgd.step(rate).unwrap();
            for (w, v) in w.iter_mut().zip(&mut v) {
                *v = 0.9 * *v + 2.0 * *w + 5e-5 * *w;
                *w -= 0.5 * rate * *v;
            }
            assert_eq!(doubles(&weight).unwrap(), doubles(&copied).unwrap());
            for (found, expected) in doubles(&weight).unwrap().iter().zip(&w) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
    }
}
