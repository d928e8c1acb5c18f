//! The order in which an example's elements lie in packed buffers.
//!
//! Outside, tensors are row-major. In the buffers of a compiled program an example's own size comes first: `[4, T]` lies as `[T, 4]`, so that the
//! rows of all examples lie end to end. What goes in is packed, and what comes out unpacked, here; a `[T, 4]` stays as it is, and so does what has
//! two sizes of its own, `[4, T, T]`.

use bdl_dims::Dim;

/// Axes of a tensor in packed order, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedOrder(Vec<usize>);

impl PackedOrder {
    /// `None` where packed order is row-major order.
    pub fn of(shape: &[Dim], is_per_example: impl Fn(&str) -> bool) -> Option<PackedOrder> {
        let is_own = |axis: &usize| shape[*axis].names().iter().any(|name| is_per_example(name));
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        if axes.iter().filter(|axis| is_own(axis)).count() == 1 {
            axes.sort_by_key(|axis| !is_own(axis));
        }
        (!axes.is_sorted()).then_some(PackedOrder(axes))
    }

    /// Row-major from packed. `shape` is the example's, in the order of the type.
    pub fn unpack<T: Copy + Default>(&self, packed: &[T], shape: &[usize]) -> Vec<T> {
        let mut values = vec![T::default(); packed.len()];
        self.each(shape, packed.len(), |at, from| values[at] = packed[from]);
        values
    }

    /// Packed from row-major.
    pub fn pack<T: Copy + Default>(&self, values: &[T], shape: &[usize]) -> Vec<T> {
        let mut packed = vec![T::default(); values.len()];
        self.each(shape, values.len(), |from, at| packed[at] = values[from]);
        packed
    }

    /// Calls `f(row-major place, packed place)` for every element.
    fn each(&self, shape: &[usize], count: usize, mut f: impl FnMut(usize, usize)) {
        let mut strides = vec![0; shape.len()];
        let mut stride = 1;
        for axis in self.0.iter().rev() {
            strides[*axis] = stride;
            stride *= shape[*axis];
        }
        debug_assert_eq!(stride, count, "as many elements as the shape says");
        for at in 0..count.min(stride) {
            let (mut rest, mut packed) = (at, 0);
            for (axis, size) in shape.iter().enumerate().rev() {
                packed += rest % size * strides[axis];
                rest /= size;
            }
            f(at, packed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_of_the_example_lies_outermost() {
        let shape = [Dim::from(2), Dim::var("T")];
        let order = PackedOrder::of(&shape, |name| name == "T").unwrap();
        let rows = [1, 2, 3, 10, 20, 30];
        let packed = [1, 10, 2, 20, 3, 30];
        assert_eq!(order.pack(&rows, &[2, 3]), packed);
        assert_eq!(order.unpack(&packed, &[2, 3]), rows);
        assert_eq!(PackedOrder::of(&[Dim::var("T"), Dim::from(2)], |name| name == "T"), None);
        assert_eq!(PackedOrder::of(&[Dim::from(3), Dim::var("L")], |name| name == "T"), None);
        assert_eq!(PackedOrder::of(&[Dim::from(3), Dim::var("T"), Dim::var("T")], |name| name == "T"), None);
        assert_eq!(order.unpack::<i32>(&[], &[2, 0]), [0; 0]);
    }
}
